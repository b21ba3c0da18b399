from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "bursary.api"
    verbose_name = "API"
