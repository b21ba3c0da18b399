DATETIME_FORMAT = "j F Y, H:i e"  # with the zone
DATE_FORMAT = "j M Y"
