"""What `ovms-converter demo` needs: a small real model, digits that it has not seen, a throw-away store.

`model/` is an MLflow artifact: a Keras network of 10 000 weights as a SavedModel. `digits.json` holds digits
of 8 x 8 pixels, 0 to 16, with what they are. `tools/make_demo_model.py` made both.
"""
