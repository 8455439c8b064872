"""What a training needs of a device's memory and matrix units, before it is started."""
