"""What differences are made of: by axis, data set, image, and source of chance."""
