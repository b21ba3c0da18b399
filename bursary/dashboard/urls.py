"""The addresses of the pages."""

from django.urls import path

from bursary.dashboard import views

urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("assignments/<uuid:uuid>/", views.assignment, name="assignment"),
    path("assignments/<uuid:uuid>/take-up/", views.take_up, name="take-up"),
    path("budgets/<uuid:uuid>/assign/", views.assign, name="assign"),
]
