"""Record 0023: our own copy of the content metadata that assignments depend on."""
