from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "bursary.delivery"
    verbose_name = "Delivery"

    def ready(self) -> None:
        """Let the executor hear of requested work."""
        # Models can be imported only now that every app is loaded.
        from bursary.assignments.actions import requested
        from bursary.delivery import executors

        requested.connect(executors.wake, dispatch_uid="delivery.wake")
