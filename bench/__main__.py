"""All figures: `make bench`."""

from bench import training

if __name__ == "__main__":
    training.main()
