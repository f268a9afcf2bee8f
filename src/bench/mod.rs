//! Mixes, amplification, the floor, histograms.
