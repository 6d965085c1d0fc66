"""Tasks for a Celery worker over kombu's SQS transport. As a program: sends so many of them."""

import os
import sys
import time

from celery import Celery

app = Celery("celery_tasks", broker=os.environ["BROKER"])
app.conf.update(
    broker_transport_options={
        "is_secure": False,
        "region": "us-east-1",
        "visibility_timeout": 5,
        "wait_time_seconds": 1,
        "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_default_queue="celery-tasks",
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
)


def noted(line):
    with open(os.environ["NOTES"], "a", encoding="utf-8") as notes:
        notes.write(line + "\n")


@app.task(name="note")
def note(number):
    noted(f"began {number}")
    time.sleep(0.02)
    noted(f"done {number}")


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        note.delay(number)
