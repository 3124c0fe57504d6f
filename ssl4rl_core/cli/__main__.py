"""`python -m ssl4rl_core.cli`: the command for launchers that start a module, such as `accelerate launch -m`."""

from ssl4rl_core.cli import main

if __name__ == "__main__":
    main()
