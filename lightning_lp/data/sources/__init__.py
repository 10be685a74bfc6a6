"""Where data comes from: a folder, a download or a made-up sample."""
