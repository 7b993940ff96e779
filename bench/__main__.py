"""All figures: `make bench`. Wants a quiet machine; takes about a quarter of an hour on 2 cores."""

from bench import live_view, page, training

if __name__ == "__main__":
    page.main()
    live_view.main()
    training.main()
