"""Checks of ai.onnx.ml."""

import numpy as np

from operator_case import check, few, node, ordinary, Case, INF, ML, NAN


def ml(op, inputs="x", outputs="y", **attributes):
    return node(op, inputs, outputs, ML, **attributes)


@check("Scaler")
def scaler(rng):
    for count in (1, 6):
        yield Case(
            [
                ml(
                    "Scaler",
                    offset=ordinary(rng, count).tolist(),
                    scale=ordinary(rng, count).tolist(),
                )
            ],
            {"x": ordinary(rng, (4, 6))},
            tolerance=1e-6,
        )
    yield Case(
        [ml("Scaler", offset=[2.0, 1.0], scale=[0.5, 3.0])],
        {"x": rng.integers(-9, 9, (4, 2)).astype(np.int64)},
        tolerance=1e-6,
    )


@check("Normalizer")
def normalizer(rng):
    for norm in ("MAX", "L1", "L2"):
        x = ordinary(rng, (6, 5))
        x[0], x[1], x[2] = 0, -np.abs(x[1]), 1e-30
        yield Case([ml("Normalizer", norm=norm)], {"x": x}, tolerance=1e-6)


@check("Imputer")
def imputer(rng):
    x = few(rng, (5, 3))
    x[0, 1] = x[3, 2] = NAN
    yield Case(
        [ml("Imputer", imputed_value_floats=[1.5, 2.5, 3.5], replaced_value_float=float("nan"))],
        {"x": x},
    )
    yield Case([ml("Imputer", imputed_value_floats=[7.0], replaced_value_float=-1.0)], {"x": x})
    yield Case(
        [ml("Imputer", imputed_value_int64s=[7], replaced_value_int64=-1)],
        {"x": rng.integers(-2, 3, (5, 3)).astype(np.int64)},
    )


@check("Binarizer")
def binarizer(rng):
    yield Case([ml("Binarizer", threshold=0.5)], {"x": np.float32([[0.5, 0.6, -1, INF, -INF]])})
    yield Case([ml("Binarizer")], {"x": few(rng, (4, 3))})


@check("LinearRegressor")
def linear_regressor(rng):
    for targets in (1, 3):
        for post in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
            more = {"intercepts": ordinary(rng, targets).tolist()} if post != "NONE" else {}
            yield Case(
                [
                    ml(
                        "LinearRegressor",
                        coefficients=ordinary(rng, 4 * targets).tolist(),
                        targets=targets,
                        post_transform=post,
                        **more
                    )
                ],
                {"x": ordinary(rng, (5, 4))},
                tolerance=5e-6,
            )


@check("LinearClassifier")
def linear_classifier(rng):
    for classes, labels in ((1, [3, 7]), (1, None), (2, [0, 1]), (3, [5, 1, 9]), (4, [0, 1, 2, 3])):
        for post in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
            more = {"classlabels_ints": labels} if labels else {}
            x = ordinary(rng, (6, 4))
            if post == "SOFTMAX_ZERO":
                x[0] = 0
            yield Case(
                [
                    ml(
                        "LinearClassifier",
                        "x",
                        "label y",
                        coefficients=ordinary(rng, 4 * classes).tolist(),
                        intercepts=ordinary(rng, classes).tolist(),
                        post_transform=post,
                        **more
                    )
                ],
                {"x": x},
                outputs=("label", "y"),
                tolerance=5e-6,
            )


@check("ZipMap")
def zip_map(rng):
    yield Case([ml("ZipMap", classlabels_int64s=[4, 2, 9])], {"x": ordinary(rng, (5, 3))})
    yield Case([ml("ZipMap", classlabels_strings=["a", "b"])], {"x": ordinary(rng, (5, 2))})


@check("ArrayFeatureExtractor")
def feature_extractor(rng):
    x = ordinary(rng, (5, 6))
    yield Case([ml("ArrayFeatureExtractor", "x i")], {"x": x}, {"i": np.array([4, 0, 0], np.int64)})
    yield Case(
        [ml("ArrayFeatureExtractor", "x i")],
        {"x": ordinary(rng, (3, 2, 4))},
        {"i": np.array([3], np.int64)},
    )
    yield Case(
        [
            node("ArgMax", "x", "m", axis=1, keepdims=1),
            ml("ArrayFeatureExtractor", "c m", "l"),
            node("Reshape", "l s"),
        ],
        {"x": x},
        {"c": np.array([10, 20, 30, 40, 50, 60], np.int64), "s": np.array([-1], np.int64)},
    )


@check("LabelEncoder")
def label_encoder(rng):
    x = few(rng, (5, 3))
    x[0, 0] = NAN
    ids = rng.integers(-2, 6, (5, 3)).astype(np.int64)
    for version in (2, 4):
        yield Case(
            [
                ml(
                    "LabelEncoder",
                    keys_floats=[1.0, -2.0, 0.0, float("nan")],
                    values_floats=[5.0, 6.0, 7.0, 8.0],
                    default_float=-3.0,
                )
            ],
            {"x": x},
            ml=version,
        )
        yield Case(
            [ml("LabelEncoder", keys_int64s=[3, 1, 2, 1], values_int64s=[30, 10, 20, 11])],
            {"x": ids},
            ml=version,
        )
        yield Case(
            [ml("LabelEncoder", keys_int64s=[3, 1], values_floats=[0.5, 1.5])],
            {"x": ids},
            ml=version,
        )
        yield Case(
            [
                ml("LabelEncoder", "x", "t", keys_int64s=[0, 1, 2], values_strings=["a", "b", "c"]),
                ml("LabelEncoder", "t", "y", keys_strings=["c", "a"], values_floats=[1.5, 2.5]),
            ],
            {"x": ids},
            ml=version,
        )
    yield Case(
        [
            ml("LabelEncoder", "x", "t", classes_strings=["a", "b", "c"]),
            ml("LabelEncoder", "t", "y", classes_strings=["c", "b"], default_int64=-9),
        ],
        {"x": ids},
        ml=1,
    )


@check("FeatureVectorizer, OneHotEncoder")
def vectorizers(rng):
    a, b = ordinary(rng, (4, 3)), ordinary(rng, (4, 2))
    yield Case([ml("FeatureVectorizer", "a b", inputdimensions=[3, 2])], {"a": a, "b": b})
    ids = rng.integers(0, 5, (4, 3)).astype(np.int64)
    yield Case([ml("OneHotEncoder", cats_int64s=[2, 0, 3])], {"x": ids})
    yield Case(
        [ml("OneHotEncoder", cats_int64s=[0, 1, 2, 3, 4], zeros=0)], {"x": ids.astype(np.float32)}
    )
    yield Case(
        [
            ml("LabelEncoder", "x", "t", keys_int64s=[0, 1, 2], values_strings=["a", "b", "c"]),
            ml("OneHotEncoder", "t", "y", cats_strings=["b", "zz", "a"]),
        ],
        {"x": ids},
        ml=2,
    )
