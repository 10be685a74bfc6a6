"""Speed and memory: what each figure of ``benchmarks/README.md`` is measured with."""
