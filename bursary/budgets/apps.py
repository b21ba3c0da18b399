from django.apps import AppConfig


class BudgetsConfig(AppConfig):
    name = "bursary.budgets"
    verbose_name = "Budgets"
