"""The model repository as OpenVINO Model Server (OVMS) reads it: numbered versions, each written once.

    <location>/<N>/conversion.json     the record of the conversion; written first, it claims the version
    <location>/<N>/model.sig           its signature, if it is signed
    <location>/<N>/<stem>.bin          weights
    <location>/<N>/<stem>.xml          written last: without it a server loads nothing

versions.py    which directories are versions, and whether they are finished
publishing.py  a new version, old ones, leftovers
graph.py       what an `.xml` tells without openvino: operations, inputs, outputs
releases.py    the oldest OpenVINO that can read a graph
"""

from ovms_converter.repository.publishing import Finished, ModelRepository, Published, Retired
from ovms_converter.repository.versions import RECORD, SIGNATURE, Version, version_number

__all__ = [
    "RECORD",
    "SIGNATURE",
    "Finished",
    "ModelRepository",
    "Published",
    "Retired",
    "Version",
    "version_number",
]
