"""The URLs of the pages."""

from django.urls import path

from bursary.dashboard import (
    account_views,
    assign_views,
    learner_views,
    list_views,
    remedy_views,
    unsubscribe_views,
    views,
)

urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("courses/", views.own_assignments, name="own-assignments"),
    path("assignments/", list_views.assignments, name="assignment-list"),
    path("assignments/export/", list_views.export, name="export-assignments"),
    path("assignments/totals/", list_views.totals, name="assignment-totals"),
    path("assignments/totals/sums/", list_views.sums, name="assignment-sums"),
    path("assignments/selected/", list_views.selected, name="selected-assignments"),
    path("assignments/selected/<str:token>/", list_views.bulk_question, name="bulk-question"),
    path("assignments/selected/<str:token>/result/", list_views.bulk_result, name="bulk-result"),
    path("forgotten-password/", account_views.ForgottenPassword.as_view(), name="forgotten-password"),
    path("forgotten-password/sent/", account_views.LinkSent.as_view(), name="password-link-sent"),
    # Logs mask the token: see bursary/lib/logs.py.
    path("new-password/<str:uidb64>/<str:token>/", account_views.NewPassword.as_view(), name="new-password"),
    path("account/", account_views.account, name="account"),
    path("account/password/", account_views.ChangePassword.as_view(), name="change-password"),
    path("account/keys/<int:pk>/revoke/", account_views.revoke_key, name="revoke-key"),
    path("assignments/<uuid:uuid>/", views.assignment, name="assignment"),
    path("assignments/<uuid:uuid>/accept/", learner_views.accept, name="accept"),
    path("assignments/<uuid:uuid>/decline/", learner_views.decline, name="decline-page"),
    path("assignments/<uuid:uuid>/remind/", remedy_views.remind, name="remind-learner"),
    path("assignments/<uuid:uuid>/extend/", remedy_views.extend, name="extend-deadline"),
    path("assignments/<uuid:uuid>/cancel/", remedy_views.cancel, name="cancel-assignment"),
    path("assignments/<uuid:uuid>/correct-address/", remedy_views.correct_address, name="correct-address"),
    path("assignments/<uuid:uuid>/retry/", remedy_views.retry, name="retry-action"),
    path("assignments/<uuid:uuid>/skip/", remedy_views.skip, name="skip-action"),
    path("assignments/<uuid:uuid>/revoke-links/", remedy_views.revoke_links, name="revoke-links"),
    # Short, because it is in e-mails. Logs mask the token: see bursary/access/links.py.
    path("a/<str:token>/", learner_views.answer, name="answer"),
    path("a/<str:token>/add-address/", learner_views.add_address, name="add-address"),
    path("u/<str:token>/", unsubscribe_views.unsubscribe, name="unsubscribe"),
    path("budgets/", list_views.budgets, name="budgets"),
    path("budgets/<uuid:uuid>/", list_views.budget, name="budget"),
    path("budgets/<uuid:uuid>/spent/", list_views.spendings, name="budget-spent"),
    path("budgets/<uuid:uuid>/assign/", assign_views.assign_content, name="assign"),
    path("batches/<uuid:batch_uuid>/", assign_views.batch, name="batch"),
]
