"""Long work on whole data sets that attacks nothing: looked over, downloaded, and what a model says of every image."""
