"""From what a user has, a document with files of events or a simulator, to events and a HistFactory specification.

A document is read (``document_file``), held against its schema (``schema``) and resolved, with errors that name the
place (``node``), into channels of three kinds (``document``, ``channels``). Its event sources are read (``sources``)
through a reader for each format (``reader``, ``root``), their selections, weights and features being expressions
(``expressions``, ``functions``), each once and with errors that name its place (``reading``), and what the selections
leave of them is counted (``cutflow``, ``cutflow_rows``). The workspace (``workspace``) puts both together, as events
for the networks and, with the sources filled into bins (``histfactory``), as a specification for pyhf
(``specifications``). A simulator (``simulator``, ``simulator_file``) takes the place of all that where there is one:
many datasets are made at once (``simulation``) and kept on disk (``simulation_cache``).
"""
