#!/bin/bash
# "Is this host there?" Trusts what it is asked: the hole the intruder uses.
printf 'Content-Type: text/plain\r\n\r\n'
host=$(httpd -d "${QUERY_STRING#host=}")
bash -c "ping -c 1 -W 2 $host" 2>&1
