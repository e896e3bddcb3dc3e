"""Sends a letter with Python's smtplib."""

import smtplib
import sys

with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=20) as session:
    session.sendmail("a@example.com", ["b@example.com"], "Subject: mesh\r\n\r\nhello\r\n")
