"""Admission: a model is untrusted, so a process apart reads it first, under limits, and gives a verdict.

``Examiner`` is what the serving process holds; ``worker`` is the process that forks a child for each examination;
``examination`` is what happens in the child: screening of the parsed file, normalising, a session, and where it is
asked for a report and the comparison of torch with ONNX Runtime.
"""

from unpool.repository.admission.examiner import Examination, Examiner
from unpool.repository.admission.limits import Limits
from unpool.repository.admission.verdict import OutputParity, Parity, RefusedError, Verdict

__all__ = ["Examination", "Examiner", "Limits", "OutputParity", "Parity", "RefusedError", "Verdict"]
