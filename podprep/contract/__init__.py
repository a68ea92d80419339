"""The shard contract, version 1: what a dataset is, how it is written, what reading one insists on.

The one owner of schemas, paths, the manifest and its seal, atomic writing and the error that users
see. podprep writes by it and podtrain reads by it; it knows neither SQL nor models.
"""
