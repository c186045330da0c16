"""What holds a session to its part of a GPU (``cuda.shares``).

``ladder`` finds out how strictly this host can, ``limits`` says what each session may hold (pure), ``holding`` puts
that in place before anything of the session runs and reads it back, ``library`` builds the preload library of
``shim/``, and ``watchdog`` compares what processes hold with what they may. ``nvml`` alone speaks to the driver.
"""
