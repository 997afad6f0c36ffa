"""Hot folders: images and their sidecars in a folder of this server or a bucket, for a DAM or a CMS that watches it."""
