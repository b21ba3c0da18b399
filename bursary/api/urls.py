"""The URLs of the API, spelt as in enterprise-access."""

from django.urls import path, re_path

from bursary.api import (
    address_corrections,
    allocation,
    allocation_batches,
    assignments,
    budgets,
    bulk,
    content,
    content_changes,
    content_events,
    declining,
    docs,
    empty_answers,
    export,
    learner_portal,
    mail_events,
    redemption,
    repairs,
    root,
)

_ADMIN = "assignment-configurations/<uuid:configuration_uuid>/admin"
_ASSIGNMENTS = f"{_ADMIN}/assignments"

urlpatterns = [
    path("", root.ApiRoot.as_view(), name="api-root"),
    path("subsidy-access-policies/", budgets.PolicyList.as_view(), name="policies"),
    path("subsidy-access-policies/<uuid:policy_uuid>/", budgets.PolicyDetail.as_view(), name="policy"),
    path("policy-allocation/<uuid:policy_uuid>/allocate/", allocation.Allocate.as_view(), name="allocate"),
    path(
        "policy-allocation/<uuid:policy_uuid>/can-allocate/",
        allocation.CanAllocate.as_view(),
        name="can-allocate",
    ),
    path(f"{_ASSIGNMENTS}/", assignments.AssignmentList.as_view(), name="assignments"),
    path(f"{_ASSIGNMENTS}/cancel/", bulk.Cancel.as_view(), name="cancel"),
    path(f"{_ASSIGNMENTS}/cancel-all/", bulk.CancelAll.as_view(), name="cancel-all"),
    path(f"{_ASSIGNMENTS}/remind/", bulk.Remind.as_view(), name="remind"),
    path(f"{_ASSIGNMENTS}/remind-all/", bulk.RemindAll.as_view(), name="remind-all"),
    path(
        f"{_ASSIGNMENTS}/correct-addresses/",
        address_corrections.CorrectAddresses.as_view(),
        name="correct-addresses",
    ),
    path(f"{_ASSIGNMENTS}/export/", export.Export.as_view(), name="export"),
    path(f"{_ADMIN}/failures/", repairs.Failures.as_view(), name="failures"),
    path(f"{_ASSIGNMENTS}/retry/", repairs.Retry.as_view(), name="retry"),
    path(f"{_ASSIGNMENTS}/retry-all/", repairs.RetryAll.as_view(), name="retry-all"),
    path(f"{_ASSIGNMENTS}/skip/", repairs.Skip.as_view(), name="skip"),
    path(f"{_ASSIGNMENTS}/extend/", repairs.Extend.as_view(), name="extend"),
    path(f"{_ASSIGNMENTS}/extend-all/", repairs.ExtendAll.as_view(), name="extend-all"),
    path(
        "allocation-batches/<uuid:batch_uuid>/",
        allocation_batches.AllocationBatchDetail.as_view(),
        name="allocation-batch",
    ),
    path(f"{_ASSIGNMENTS}/nudge/", bulk.Nudge.as_view(), name="nudge"),
    path(
        f"{_ASSIGNMENTS}/<uuid:assignment_uuid>/",
        assignments.AssignmentDetail.as_view(),
        name="api-assignment",
    ),
    path(
        f"{_ASSIGNMENTS}/<uuid:assignment_uuid>/actions/",
        assignments.AssignmentTimeline.as_view(),
        name="timeline",
    ),
    path("policy-redemption/credits_available/", redemption.CreditsAvailable.as_view(), name="credits"),
    path(
        "policy-redemption/enterprise-customer/<uuid:customer_uuid>/can-redeem/",
        redemption.CanRedeem.as_view(),
        name="can-redeem",
    ),
    path(
        "policy-redemption/redemptions/<uuid:action_uuid>/",
        redemption.RedemptionStatus.as_view(),
        name="redemption-status",
    ),
    path("policy-redemption/<uuid:policy_uuid>/redeem/", redemption.Redeem.as_view(), name="redeem"),
    path(
        "assignment-configurations/<uuid:configuration_uuid>/acknowledge-assignments/",
        redemption.Acknowledge.as_view(),
        name="acknowledge",
    ),
    path(
        "assignment-configurations/<uuid:configuration_uuid>/assignments/<uuid:assignment_uuid>/decline/",
        declining.Decline.as_view(),
        name="decline",
    ),
    path("content-metadata/", content.ContentList.as_view(), name="contents"),
    # Before the URL of the content itself: keys may contain slashes.
    re_path(
        r"^content-metadata/(?P<content_key>[^\0]+)/changes/$",
        content_changes.Changes.as_view(),
        name="content-changes",
    ),
    re_path(
        r"^content-metadata/(?P<content_key>[^\0]+)/impact/$",
        content_changes.ImpactOfChanges.as_view(),
        name="content-impact",
    ),
    re_path(r"^content-metadata/(?P<content_key>[^\0]+)/$", content.ContentDetail.as_view(), name="content"),
    path("mail-events/<str:provider>/", mail_events.MailEvents.as_view(), name="mail-events"),
    path("content-events/", content_events.ContentEvents.as_view(), name="content-events"),
    *(
        path(f"bffs/learner/{page}/", view.as_view(), name=f"portal-{page}")
        for page, view in (
            ("dashboard", learner_portal.PortalDashboard),
            ("search", learner_portal.PortalPage),
            ("academy", learner_portal.PortalPage),
            ("skills-quiz", learner_portal.PortalPage),
        )
    ),
    *(
        one
        for kind in ("learner-credit", "license", "coupon-code")
        for one in (
            path(f"{kind}-requests/", empty_answers.RequestList.as_view(), name=f"{kind}-requests"),
            path(
                f"{kind}-requests/overview/",
                empty_answers.RequestOverview.as_view(),
                name=f"{kind}-requests-overview",
            ),
        )
    ),
    path(
        "customer-configurations/",
        empty_answers.CustomerConfigurations.as_view(),
        name="customer-configurations",
    ),
    path(
        "customer-configurations/<uuid:customer_uuid>/",
        empty_answers.CustomerConfiguration.as_view(),
        name="customer-configuration",
    ),
    path(
        "policy-redemption/enterprise-customer/<uuid:customer_uuid>/can-request/",
        empty_answers.CanRequest.as_view(),
        name="can-request",
    ),
    path("admin-view/learner_profile/", empty_answers.LearnerProfile.as_view(), name="learner-profile"),
    path("schema/", docs.Described.as_view(), name="schema"),
    path("docs/", docs.Docs.as_view(), name="docs"),
]
