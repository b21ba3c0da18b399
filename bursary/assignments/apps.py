from django.apps import AppConfig


class AssignmentsConfig(AppConfig):
    name = "bursary.assignments"
    verbose_name = "Assignments"

    def ready(self) -> None:
        """Connect the derived columns to their causes."""
        # Models can be imported only now that every app is loaded.
        from bursary.assignments import administrator_notices, derived, invitations
        from bursary.budgets.terms import budget_changed
        from bursary.replica.refresh import content_changed

        content_changed.connect(
            derived.recompute_for_content, dispatch_uid="assignments.recompute_for_content"
        )
        budget_changed.connect(
            derived.recompute_for_budgets, dispatch_uid="assignments.recompute_for_budgets"
        )
        budget_changed.connect(invitations.resume, dispatch_uid="assignments.resume_invitations")
        # After the above: they read its result.
        content_changed.connect(
            administrator_notices.write_for_content, dispatch_uid="assignments.write_notices_for_content"
        )
        budget_changed.connect(
            administrator_notices.write_for_budgets, dispatch_uid="assignments.write_notices_for_budgets"
        )
