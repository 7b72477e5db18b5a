"""medimg: from medical images to a trained model, an honest number and a valid submission."""

__version__ = "0.1.0"
