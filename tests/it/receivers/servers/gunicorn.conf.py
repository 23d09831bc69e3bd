"""TLS, and an access log that tells connections apart; the rest is as gunicorn has it."""

certfile = "certificate.pem"
keyfile = "key.pem"
accesslog = "-"
access_log_format = "%(h)s:%({remote_port}e)s"
