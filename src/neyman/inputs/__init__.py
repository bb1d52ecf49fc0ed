"""From what a user has, documents, ntuples and simulators, to events and a HistFactory specification."""
