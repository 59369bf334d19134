"""One evaluation, or a suite of them: encode, search, measure, publish."""
