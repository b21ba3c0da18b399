"""The URLs of health and metrics."""

from django.urls import path

from bursary.ops import views

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("metrics", views.metrics, name="metrics"),
]
