"""Facts for people: an image (inspect), an update (download), two trees (files)."""
