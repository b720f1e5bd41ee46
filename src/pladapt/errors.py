"""The exceptions of pladapt.

Each is also the builtin a caller would catch without knowing pladapt::

    PladaptError
    ├── InputError (ValueError)          an array, sample or parameter is not what it must be
    │   ├── DataError                    a file is missing its partner, truncated or malformed
    │   └── OutputError                  a network gives something else than it is taken for
    ├── MissingDataError (FileNotFoundError)   a folder, file or archive member is not there
    ├── LabelledTargetError (TypeError)  masks were given where only images may be
    ├── PluginError (RuntimeError)       two plugins clash, or one is malformed
    ├── UnknownPluginError (LookupError) no plugin of that name
    ├── MissingDependencyError (ModuleNotFoundError)   an extra is not installed
    ├── DeviceError (RuntimeError)       the device asked for is not there
    ├── RunChangedError (ValueError)     a run folder was made from other inputs or parameters
    ├── BusyError (BlockingIOError)      another process writes there
    ├── ClusterError (ConnectionError)   a cluster cannot be reached, or has no room for workers
    ├── ProcessError (ChildProcessError) another process that trains as well failed
    ├── TimeLimitError (TimeoutError)    a part took longer than it may
    └── DiskFullError (OSError)          there is no room for a file

Each message says what was given, what was expected, and what to do next.
"""


class PladaptError(Exception):
    """The base of every exception that pladapt raises on purpose."""


class InputError(PladaptError, ValueError):
    """An array, a sample or a parameter is not what it must be."""


class DataError(InputError):
    """A file or sample cannot be used: truncated, malformed, or not matching its partner."""


class OutputError(InputError):
    """A network gives something else than it is taken for, whatever the sample: logits, say."""


class MissingDataError(PladaptError, FileNotFoundError):
    """A folder, a file or a member of an archive is not there."""


class LabelledTargetError(PladaptError, TypeError):
    """A labelled sample was given where masks must not go."""


class PluginError(PladaptError, RuntimeError):
    """Two plugins claim one name, or a plugin's record is malformed."""


class UnknownPluginError(PladaptError, LookupError):
    """No plugin of the asked-for name is registered."""


class MissingDependencyError(PladaptError, ModuleNotFoundError):
    """An optional dependency is not installed."""


class DeviceError(PladaptError, RuntimeError):
    """The device that was asked for cannot be used."""


class RunChangedError(PladaptError, ValueError):
    """A run folder holds results of other inputs or parameters than those given now."""


class BusyError(PladaptError, BlockingIOError):
    """Another process is writing to the same place."""


class ClusterError(PladaptError, ConnectionError):
    """A cluster cannot be reached, has no room for workers, or loses them again and again."""


class ProcessError(PladaptError, ChildProcessError):
    """Another process that took part in a training failed."""


class TimeLimitError(PladaptError, TimeoutError):
    """A part took longer than it may."""


class DiskFullError(PladaptError, OSError):
    """There is no room for what must be written."""
