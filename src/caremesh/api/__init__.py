"""HTTP: routes over ports. It knows no engine, custodian or store, only what they promise."""
