"""Runs the whole service on one machine: the real servers out of their wheels, and our processes.

`make run` and the tests use the same launcher. Everything that it keeps lies under one folder:

    data/            what the servers store
    log/             one log a process
    run/             the lock, and which processes were started
    secrets.json     passwords and ports, made at the first start
    environment.json the settings that lead to the servers
    local.json       address and key of the running service
"""
