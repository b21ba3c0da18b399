from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "bursary.access"
    verbose_name = "Access"
