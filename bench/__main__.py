"""All figures: `make bench`. Wants a quiet machine; takes about half an hour on 2 cores."""

from bench import keeping, live_view, many, page, training

if __name__ == "__main__":
    page.main()
    live_view.main()
    many.main()
    keeping.main()
    training.main()
