"""All figures: `make bench`."""

from bench import live_view, training

if __name__ == "__main__":
    live_view.main()
    training.main()
