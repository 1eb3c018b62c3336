"""Images from files to the network's input, for calibration and evaluation alike."""
