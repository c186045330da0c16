"""``python -m bai_agent``."""

from bai_agent.app import main

if __name__ == "__main__":
    main()
