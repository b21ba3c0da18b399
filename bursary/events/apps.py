from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "bursary.events"
    verbose_name = "Events"
