"""The commands with nothing but the example installed, for the page that lists them.

Run ``typer docs/commands_app.py utils docs --name pladapt --title Commands --output
docs/reference/commands.md`` after a change of the commands.
"""

import pladapt_covid_ct.plugin
from pladapt.cli.application import application
from pladapt.plugins import PluginManager

_plugins = PluginManager()
_plugins.register(pladapt_covid_ct.plugin, "covid-ct")
app = application(_plugins)
