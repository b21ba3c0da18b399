from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "bursary.delivery"
    verbose_name = "Delivery"

    def ready(self) -> None:
        """Wake the executor when work is requested."""
        # Models can be imported only now that every app is loaded.
        from bursary.assignments.actions import requested
        from bursary.delivery import executors

        requested.connect(executors.wake, dispatch_uid="delivery.wake")
