"""Triton around the model: package a version, serve it, deploy it, go back.

    sam3-agent package            a registered model -> serving/model_repository/<version>
    sam3-agent triton up          the server, with what is deployed (or the newest version)
    sam3-agent deploy             another version, proven before it takes the traffic
    sam3-agent rollback           the one before

What runs inside the server is `sam3/triton`; the call for programs is `load_engine("triton")`.
"""
