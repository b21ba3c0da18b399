DATETIME_FORMAT = "j F Y, H:i e"  # with the zone
