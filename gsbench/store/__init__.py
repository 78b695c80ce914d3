"""The data set on disk: schema, shards, card, manifest."""
