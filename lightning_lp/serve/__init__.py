"""A trained run as a service: answers over HTTP, with ratings that come in while it runs."""
