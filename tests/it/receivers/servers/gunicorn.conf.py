"""TLS, and an access log that tells connections apart; everything else is gunicorn's default."""

certfile = "certificate.pem"
keyfile = "key.pem"
accesslog = "-"
access_log_format = "%(h)s:%({remote_port}e)s"
