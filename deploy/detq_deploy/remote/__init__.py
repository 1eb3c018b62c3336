"""A device over ssh: files are sent there, work is done there, results come back.

::

    host         user@name:port
    connection   one ssh connection; its host key is checked, no password is asked for
    survey       what is installed there
    store        files by their sha256: sent once, and on from where they were interrupted
    build        an engine built there, by detq or by trtexec
    bench        models timed there
    serving      a model that runs there, as a runner here
    device_runner  the one file that is copied to a device; it needs no detq
"""
