from django.apps import AppConfig


class ReplicaConfig(AppConfig):
    name = "bursary.replica"
    verbose_name = "Content replica"
